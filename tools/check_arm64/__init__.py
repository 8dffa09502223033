"""Installs what the images install for aarch64 and runs it on an emulated Raspberry Pi, on pages of 4 and 16 KiB."""
