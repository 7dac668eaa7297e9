"""Evaluations: how well models do what Vigil asks of them, as reports for people. Nothing here is a test, and nothing imports it
but tests of itself; it may import everything.
"""
