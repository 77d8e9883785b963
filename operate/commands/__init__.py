"""The commands of `realtime`; `operate/cli.py` puts them together."""
