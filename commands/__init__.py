"""What was asked: the whole write side. Each command loads an aggregate, lets the domain decide, appends the events.

Imports domain only; ports for everything that touches the world stand at the top of the files that use them.
Next: the events go through an adapter into the event store, and from there through the relay to everybody.
"""
