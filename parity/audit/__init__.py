"""Mutation testing of a suite: which known faults would its images and tolerances catch? Begin with run.py.

Artefact --family--> Mutants --run on the suite's images--> caught, or missed: with probes, what would catch it
"""
