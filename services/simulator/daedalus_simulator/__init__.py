"""A local exchange: speaks Binance spot REST and websocket to unmodified ccxt.pro clients.

It drives seeded synthetic markets or replays a recording, misbehaves on command, and counts what it sent.
Every ``http`` url of a ccxt client's ``urls['api']`` becomes ``{url}/api/v3``, every ``ws`` url
``{ws_url}/stream/ws``: ccxt takes a websocket for a spot one by the ``/stream`` in its url.
"""
