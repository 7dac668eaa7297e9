"""How people run it: `vigil ...`, with help, examples, tables and progress bars.

Imports bootstrap and everything below.
Next: the process runs until it is told to stop.
"""
