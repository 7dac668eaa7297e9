"""The form of the HTTP API: envelopes, errors, who is calling, what a body must look like.

Imports domain and Litestar. `read_api` uses the same form for its GET routes.
Next: the route modules beside this package turn requests into commands.
"""
