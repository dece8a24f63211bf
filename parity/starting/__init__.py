"""What `parity init` writes: a suite file, a models.py where one is needed, and a workflow.

MODEL, artefacts, images --plan--> Plan --> texts --> files
"""
