"""Language models as Learnback uses them: a frozen base, many small adapters. The only part of `shared` with torch."""
