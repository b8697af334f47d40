"""No file that is loaded can run anything: the source code has none of the calls by which one could."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("study", "trainers", "search_spaces", "deploy")
MODULES = frozenset(
    {
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
        "torch.hub",
        "runpy",
        "code",
    }
)
"""Whose loading runs what a file says."""
CALLS = frozenset(
    {
        *("eval", "exec", "compile", "__import__"),
        *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
        *(
            "yaml.unsafe_load",
            "yaml.full_load",
            "yaml.unsafe_load_all",
            "yaml.full_load_all",
            "yaml.load_all",
        ),
        *(
            "pandas.read_pickle",
            "pd.read_pickle",
            "torch.jit.load",
            "torch.load",
            "torch.package",
            "np.load",
            "numpy.load",
        ),
        *("np.fromfile", "tempfile.mktemp", "pd.eval", "shutil.unpack_archive", "ctypes.pythonapi"),
    }
)
"""By the name under which they are written."""
METHODS = frozenset({"extractall", "read_pickle", "read_hdf", "from_pickle", "extract"})
ARGUMENTS = {
    "shell": True,
    "allow_pickle": True,
    "trust_remote_code": True,
    "weights_only": False,
    "use_safetensors": False,
    "autoescape": False,
    "unsafe_allow_html": True,
}
"""Arguments that may never have this value, nor one that is only known when it runs."""
ALLOWED = {
    (
        "study/nodes.py",
        "ray.cloudpickle",
    ): "what a node of the cluster is asked, packed here and never read from a file",
    ("study/spec_file.py", "yaml.load"): "with a loader that is a SafeLoader and refuses every tag",
}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def found_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and what stands there that could run a file's content."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names if one.name in MODULES)
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{one.name}" for one in node.names]
            yield from (
                (node.lineno, name)
                for name in names
                if MODULES & {node.module, name, name.rpartition(".")[2]}
            )
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS or name == "yaml.load" or name.rpartition(".")[2] in METHODS:
                yield node.lineno, name
            for argument in node.keywords:
                if argument.arg in ARGUMENTS:
                    value = argument.value
                    if not (isinstance(value, ast.Constant) and value.value is not ARGUMENTS[argument.arg]):
                        yield node.lineno, f"{argument.arg}={ast.unparse(value)}"


def test_nothing_in_the_packages_runs_what_a_file_says():
    offences = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in sources()
        for line, what in found_in(ast.parse(path.read_text(encoding="utf-8")))
        if (path.relative_to(ROOT).as_posix(), what) not in ALLOWED
    ]
    assert offences == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "from ray import cloudpickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "archive.extractall(folder)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=trusted)",
        "jinja2.Environment(autoescape=False)",
        "pd.read_pickle(path)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str):
    assert list(found_in(ast.parse(code)))


def test_every_exception_is_still_needed():
    for name, what in ALLOWED:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        assert what in [found for _, found in found_in(tree)]


def test_every_template_engine_escapes():
    engines = [
        ast.unparse(node)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and dotted(node.func).endswith("Environment")
    ]
    assert engines
    assert all("autoescape=True" in engine for engine in engines)
