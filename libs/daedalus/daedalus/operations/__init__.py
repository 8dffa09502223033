"""What an operator asks of a running system: who owns which market, how long the streams are, what was refused."""
