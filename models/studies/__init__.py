"""Studies: several trainings on one split, judged alike; what they are planned as, kept in and shown by."""
