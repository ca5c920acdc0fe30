"""What recordings hold: leads, rates, units, gaps, annotations, and the encoders that they suit.

    python -m launch.inspect FILE ...
    python -m launch.inspect --yaml FILE ... > study.yaml     a description to start from

Files may be EDF, BDF, WFDB (.hea), MAT, HDF5, NPZ, CSV, TSV or text. Arrays and tables may need a
word more: --array, --lead_names, --rate_from, --header, --time_column, --time_unit, --format.
"""

if __name__ == "inspect":
    # `python launch/SCRIPT.py` puts this folder in front of the standard library, whose own module
    # of this name is then looked for here. Take the folder away and hand out that module.
    import os
    import sys

    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or os.curdir) != _here]
    del sys.modules["inspect"]
    import inspect

    sys.modules["inspect"] = inspect
else:
    import sys
    from pathlib import Path

    from absl import flags

    from jaxbridge.data.recordings.opening import FORMATS, open_file
    from jaxbridge.data.recordings.options import FileOptions
    from jaxbridge.data.recordings.overview import skeleton, summarise, table
    from jaxbridge.data.recordings.table import TIME_UNITS
    from launch.script import run
    from model_ports.errors import InputError

    _YAML = flags.DEFINE_bool("yaml", False, "Print a description to start from, and nothing else.")
    _FORMAT = flags.DEFINE_enum("format", None, list(FORMATS), "In place of the name's ending.")
    _ARRAY = flags.DEFINE_string("array", None, "MAT, HDF5, NPZ: the array of the signals.")
    _LEAD_NAMES = flags.DEFINE_list("lead_names", [], "Names of the array's leads or the columns.")
    _RATE_FROM = flags.DEFINE_string("rate_from", None, "MAT, HDF5, NPZ: the number that is the rate.")
    _HEADER = flags.DEFINE_string("header", None, "MAT: WFDB header with gains and names.")
    _TIME_COLUMN = flags.DEFINE_string("time_column", None, "Tables: the column with the time.")
    _TIME_UNIT = flags.DEFINE_enum("time_unit", "s", [*TIME_UNITS, "date"], "Of the time column.")

    def main(files: list[str]) -> None:
        if not files:
            raise InputError("no file is given: python -m launch.inspect FILE ...")
        options = FileOptions(
            _FORMAT.value, _ARRAY.value, tuple(_LEAD_NAMES.value), _RATE_FROM.value, _HEADER.value,
            _TIME_COLUMN.value, _TIME_UNIT.value,
        )
        opened = [open_file(Path(file), options) for file in files]
        if _YAML.value:
            sys.stdout.write(skeleton([(contents, options) for contents in opened]))
            return
        print("\n\n".join(table(contents, summarise(contents)) for contents in opened))

    if __name__ == "__main__":
        run(main, arguments=True)
