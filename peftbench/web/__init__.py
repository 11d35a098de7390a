"""The dashboard in a browser: access control (`access`), session limits (`sessions`) and HTTP server (`server`).

Each session runs a dashboard subprocess; textual-serve transfers screen and input. Access control is added here.
"""
