"""The page of a study: figures/ and report.html, from the results.csv and study.json beside them.

results.csv is the tidy table of `jaxbridge.statistics.tidy`: `run_rows` of every method, seed and
fold, `summary_rows` of every method and, where wanted, `jaxbridge.statistics.curves.curve_rows`. Each
(study, dataset) in it becomes a part of the page; methods keep the table's order.

study.json:

    title       heading
    command     what was typed
    settings    mapping of anything; nested ones are shown flat
    versions    see `jaxbridge.run_folder.versions`
    baselines   names of methods: the best of them is what others are compared with; may be empty
    controls    names of methods: bounds and controls, shown but not compared
    notes       list of sentences for the top of the page; optional
    axis        optional, for a study of something that is varied (share of pairs, misalignment):
                {"label": "pair windows used (%)", "log": true,
                 "points": {method: {"series": "bridge", "x": 20}, ...}}
"""
