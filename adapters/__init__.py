"""How Vigil touches the world: one file for each technology in each role (`postgres_event_store`, `smtp_mailer`).

Imports commands, projections and domain for the ports it fulfils; vendors are imported nowhere else.
Next: bootstrap chooses the adapters that the settings ask for.
"""
