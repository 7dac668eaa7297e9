"""How it is put together: settings (the only reader of the environment), wiring, the ASGI app, the runner.

Imports everything below it. Nothing imports bootstrap but the command line.
Next: `cli` starts what is wired here.
"""
