"""What the contract suite runs each kind of stage on: add yours here."""

SENSOR = (40, 32)

MOTIF = {"id": "motion", "kind": "motif", "model": "motif8"}

EXAMPLES = {
    "crop": [[{"kind": "crop", "x": 3, "y": 5, "width": 20, "height": 11}]],
    "downsample": [[{"kind": "downsample", "factor": 3}]],
    "refractory": [[{"kind": "refractory", "period_us": 2000}]],
    "background_activity": [[{"kind": "background_activity", "window_us": 3000}]],
    "motif": [
        [{**MOTIF, "threshold": {"evidence": -1e6}}],
        [{**MOTIF, "threshold": {"probability": 0.08}, "keep": 0.1}],
        [{**MOTIF, "threshold": {"rate_hz": 5000}, "at": {"every": 3}, "delays": 9}],
        [{**MOTIF, "threshold": {"evidence": 1.0}, "at": {"grid": 6}}],
        [{**MOTIF, "threshold": {"evidence": -1e6}, "at": {"random": 0.01, "seed": 5}}],
    ],
    "motion_field": [
        [
            MOTIF,
            {"kind": "motion_field", "input": "motion.evidence", "window_us": 3000, "tile": 7, "min_rows": 2},
        ]
    ],
}
"""Per kind, pipelines whose last stage is of that kind."""


def spec(stages):
    """The example as a pipeline whose one output is its last stage."""
    named = [{"id": f"stage{i}", **stage} for i, stage in enumerate(stages)]
    return {"stages": named, "outputs": [named[-1]["id"]]}
