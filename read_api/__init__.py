"""Who may read it: GET routes over the read tables, always scoped to the person who asks.

Imports commands (the HTTP form: envelopes, errors, principals), projections and domain.
Next: the JSON goes to the person's frontend.
"""
