"""Studies: named lists of variations, each run on every seed and fold as a queue that resumes.

    study = catalogue.study("pairs", setup)
    run_study(study, setup, "runs/pairs", seeds=[0, 1, 2])

A study's folder, which `jaxbridge.report.study_page.write(folder)` turns into figures and a page:

    study.json      what was asked, as `jaxbridge.report.study_page` reads it; beside that "variations"
                    (each with method, settings, change of the data, encoder and values), "failed"
                    (variation, seed, fold, error), "missing" (jobs not run), "seconds",
                    "cpu_seconds"
    results.csv     the tidy table of `jaxbridge.statistics.tidy`; "method" is a variation's name
    jobs/<variation>/seed_<s>_fold_<f>/
                    predictions.npz (`statistics.predictions.Predictions` of the test windows),
                    cost.json (`methods.Cost`), details.json, curve.csv where something was trained
    data/           windows, teacher and features, shared by the jobs of a seed and fold
"""

from jaxbridge.studies.run import run_study
from jaxbridge.studies.setup import Case, Setup
from jaxbridge.studies.variation import Axis, Study, Variation

__all__ = ["Axis", "Case", "Setup", "Study", "Variation", "run_study"]
