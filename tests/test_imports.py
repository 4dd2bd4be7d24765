"""How the modules of the package import each other; the layers are import-linter's to hold."""

import graphlib

import grimp


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("dicomferry", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
