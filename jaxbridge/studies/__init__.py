'''Studies: named lists of variations, each run on every seed and fold as a queue that resumes.

    study = studies.study("pairs", setup)
    run_study(study, setup, "runs/pairs", seeds=[0, 1, 2])

A study's folder, which `jaxbridge.report.study_page.write(folder)` turns into figures and a page:

    study.json      what was asked and what came of it, see below
    results.csv     the tidy table of `jaxbridge.statistics.tidy`; "method" is a variation's name
    jobs/<variation>/seed_<s>_fold_<f>/     predictions.npz (`statistics.predictions.Predictions` of the
                    test windows), cost.json (`methods.Cost`), details.json, curve.csv where trained
    data/           teacher, features and windows, shared by the jobs of a seed and fold

study.json:

    study, title, dataset       names
    axes            [{"name", "unit", "scale": "linear" | "log" | "category"}]: what variations differ in;
                    empty for a list of methods
    variations      [{"name", "group", "values": {axis name: number or word}, "is_control",
                    "reads_labels", "method": class, "settings": {...}, "change": {...}, "encoder"}]:
                    one line per group, in a figure over an axis; one point per variation
    reference       name of the variation that others are set against; null for the best baseline
    baselines       names
    comparisons     [`statistics.comparison.Comparison`] of those variations that ran on all cases
    averages        [{"group", "of": number, score: {"value", "low", "high"}}]: groups that are one
                    thing, such as bridges at fixed positions
    failed          [{"variation", "seed", "fold", "error"}]
    missing         number of jobs that have not been run
    seeds, folds, seconds, settings, command, versions
'''
