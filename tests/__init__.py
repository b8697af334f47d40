"""The tests. A package, so that a distribution that installs a package named `tests` (baycomp does) cannot hide it."""
