"""labkit: learn distributed systems by breaking one.

The layers, top to bottom; imports point down only::

    cli · demo                 what a person starts
    batch                      work in, results out
    cluster · worker           WHERE workers run · WHO does tasks
    measure                    events -> timings -> figures
    queue                      WHERE tasks wait, WHO is alive
    filters                    WHAT tasks do: arrays in, arrays out
    task · settings · errors
"""

__version__ = "0.1.0"
