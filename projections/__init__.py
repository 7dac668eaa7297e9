"""What can be read: for each read table, the SQL that turns events into its rows, rebuildable at any time.

Imports domain only, and cannot act on the world: no mailer, no fetcher, no clock is in its reach.
Next: the projector worker runs this SQL, and `read_api` reads the tables.
"""
