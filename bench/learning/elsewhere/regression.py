"""Logistic regression as a classifier of vectors: JSON in, JSON out. Run by bench/learning/others.py, not imported."""

import json
import sys
import time

import numpy as np
from sklearn.linear_model import LogisticRegression

STRENGTH = 30.0  # C, which divides the penalty: vectors of length 1 need a weak one

given = json.load(sys.stdin)
vectors, tested = np.array(given["vectors"]), np.array(given["tested"])
start = time.process_time()
model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(vectors, given["labels"])
cpu_s = time.process_time() - start
print(json.dumps({"cpu_s": cpu_s, "accuracy": float(np.mean(model.predict(tested) == np.array(given["right"])))}))
