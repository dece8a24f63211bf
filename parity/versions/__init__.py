"""The same conversion by other versions: baselines, drift, upgrades, and the environments that they run in."""
