"""How the database came to its present form: numbered plain SQL, each with its way back.

`schema.sql` at the top is the whole that they add up to; a test proves it.
"""
