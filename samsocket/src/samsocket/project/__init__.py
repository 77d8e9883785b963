"""Reads a SAM project: its template as CloudFormation sees it, and the code of its functions.

`expansion` has AWS's own translator expand the template; `sources` finds functions and layers in it; `building` builds
what must be built; `adaptation` makes of it what the emulator can deploy.
"""
