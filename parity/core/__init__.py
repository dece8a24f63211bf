"""What every part of parity speaks of: results and how they are judged, tolerances, errors, files."""
