"""The command lines: one module each, which a script in ``tools/`` and a console command call.

A module parses its arguments (:mod:`nucdet.arguments` has those that several share) and makes one
call into nucdet, which it imports after parsing.
"""
