"""What moves: relay, projector, scheduler, evaluator, notifier, mailer.

Imports commands, projections and domain; what touches the world comes in through ports.
Next: bootstrap gives each worker its adapters and runs it until it is asked to stop.
"""
