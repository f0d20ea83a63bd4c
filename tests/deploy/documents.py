"""What docs/ says for operators is true of the code: metrics, alerts, the dashboard, links, tests.

Reads files alone. What a rule does over time is promtool's to say: tests/deploy/deep.
"""

import json
import pathlib
import re
import sys

import promql_parser
from ruamel.yaml import YAML

OPERATIONS = pathlib.Path("docs/OPERATIONS.md")
SECURITY = pathlib.Path("docs/SECURITY.md")
ALERTS = pathlib.Path("docs/alerts.yml")
ALERT_TESTS = pathlib.Path("tests/deploy/alerts.test.yml")
DASHBOARD = pathlib.Path("docs/deploy/grafana-dashboard.json")
# What Prometheus and its histograms add.
ADDED = {"job", "instance", "le"}
HISTOGRAM = ("_bucket", "_sum", "_count")

wrong = []


def check(holds, what):
    if not holds:
        wrong.append(what)


def metrics_of_code():
    """Every metric that the code may show: name -> (form, labels)."""
    found = {}
    text = pathlib.Path("crates/jit-runtime/src/observe.rs").read_text()
    names = dict(re.findall(r'pub const ([A-Z_]+): &str = "(jit_[a-z_]+)";', text))
    table = text.split("pub const METRICS", 1)[1].split("];", 1)[0]
    for name, form, labels in re.findall(r"metric\(\s*([A-Z_]+),\s*Form::(\w+),\s*&\[([^\]]*)\]", table):
        found[names[name]] = (form.lower(), tuple(re.findall(r'"(\w+)"', labels)))
    declared = re.search(r"METRICS: \[Metric; (\d+)\]", text)
    assert declared and len(found) == int(declared[1]), "the table in observe.rs is read whole"
    # Those that adapters show by themselves.
    call = re.compile(r'metrics::(counter|gauge|histogram)!\(\s*"(jit_[a-z_]+)"((?:\s*,\s*"\w+" => [^,)]+)*)')
    for file in [*pathlib.Path("crates").rglob("src/**/*.rs"), *pathlib.Path("bins").rglob("src/**/*.rs")]:
        for form, name, labels in call.findall(file.read_text()):
            here = (form, tuple(re.findall(r'"(\w+)" =>', labels)))
            check(found.setdefault(name, here) == here, f"{file}: {name} is {found[name]} elsewhere")
    return found


def nodes(node):
    """A parsed expression and all that is in it."""
    yield node
    for name in ("lhs", "rhs", "expr", "args", "param", "vector_selector"):
        inner = getattr(node, name, None)
        for child in inner if isinstance(inner, list) else [inner]:
            if child is not None and type(child).__module__.startswith("promql_parser"):
                yield from nodes(child)


def check_expression(where, expression, metrics):
    """It parses, and every metric and label in it exists. Gives the metrics."""
    plain = re.sub(r"\$__(rate_interval|interval|range)", "5m", expression)
    try:
        parsed = promql_parser.parse(plain)
    except ValueError as error:
        check(False, f"{where}: {error}")
        return set()
    used, labels = set(), set()
    for node in nodes(parsed):
        if isinstance(node, promql_parser.VectorSelector):
            name = node.name
            base = next((name.removesuffix(end) for end in HISTOGRAM if name and name.endswith(end)
                         and metrics.get(name.removesuffix(end), ("", ()))[0] == "histogram"), name)
            check(base in metrics, f"{where}: there is no metric {name}")
            check(base == name or metrics[base][0] == "histogram", f"{where}: {name} is no histogram")
            used.add(base)
            known = set(metrics.get(base, ("", ()))[1]) | ADDED
            matched = {matcher.name for matcher in node.matchers.matchers}
            check(matched <= known, f"{where}: {name} has no label {matched - known}")
            labels |= known
    for grouped in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression):
        named = {label.strip() for label in grouped.split(",") if label.strip()}
        check(named <= labels, f"{where}: nothing here has the label {named - labels}")
    return used


def slugs(text):
    """The anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    for title in re.findall(r"^#+ (.+?)\s*$", text, flags=re.M):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def check_alerts(metrics):
    yaml = YAML(typ="safe")
    groups = yaml.load(ALERTS.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    anchors = set(slugs(OPERATIONS.read_text()))
    used = set()
    for rule in rules:
        where = f"{ALERTS}: {rule['alert']}"
        used |= check_expression(where, rule["expr"], metrics)
        check(rule["labels"].keys() == {"severity"}, f"{where}: its one label is severity")
        check(rule["labels"]["severity"] in ("page", "ticket"), f"{where}: severity is page or ticket")
        notes = rule["annotations"]
        check(notes.keys() == {"summary", "description", "runbook_url"}, f"{where}: its annotations")
        page, _, anchor = notes["runbook_url"].partition("#")
        check(page == str(OPERATIONS) and anchor in anchors, f"{where}: there is no {notes['runbook_url']}")
        kept = {label.strip() for grouped in re.findall(r"\bby \(([^)]*)\)", rule["expr"])
                for label in grouped.split(",")}
        for label in re.findall(r"\$labels\.(\w+)", " ".join(notes.values())):
            check(label in kept, f"{where}: its text names the label {label}, which the expression drops")
    names = [rule["alert"] for rule in rules]
    check(len(set(names)) == len(names), f"{ALERTS}: a name is there twice")

    tests = yaml.load(ALERT_TESTS.read_text())["tests"]
    fired, silent = set(), set()
    for test in tests:
        fed = set()
        for series in test["input_series"]:
            fed |= check_expression(f"{ALERT_TESTS}: {test['name']}", series["series"], metrics)
        samples = [sample["labels"] for case in test["promql_expr_test"] for sample in case["exp_samples"]]
        fired |= {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample)}
        if not samples:
            silent |= fed
    check(fired == set(names), f"{ALERT_TESTS}: what fires there and what there is differ: {fired ^ set(names)}")
    check(used <= silent, f"{ALERT_TESTS}: nothing is quiet about {used - silent}")
    return len(rules)


def check_dashboard(metrics):
    board = json.loads(DASHBOARD.read_text())
    source = {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    check(variables.get("datasource", {}).get("type") == "datasource", f"{DASHBOARD}: the variable datasource")
    check(board.get("id") is None and board.get("uid") and board.get("title"), f"{DASHBOARD}: id, uid, title")
    for key in ("schemaVersion", "time", "refresh", "panels"):
        check(key in board, f"{DASHBOARD}: it has no {key}")
    shown, taken, ids = set(), set(), set()
    for panel in board["panels"]:
        where = f"{DASHBOARD}: {panel['title']}"
        check(panel["id"] not in ids, f"{where}: its id is there twice")
        ids.add(panel["id"])
        at = panel["gridPos"]
        check(at["x"] + at["w"] <= 24, f"{where}: it is wider than the page")
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        check(not cells & taken, f"{where}: it lies on another panel")
        taken |= cells
        if panel["type"] == "row":
            continue
        check(panel["datasource"] == source, f"{where}: its data source is the variable")
        check(panel.get("description"), f"{where}: it has no description")
        refs = [target["refId"] for target in panel["targets"]]
        check(refs and len(set(refs)) == len(refs), f"{where}: its targets")
        for target in panel["targets"]:
            check(target["datasource"] == source, f"{where}: the data source of {target['refId']}")
            shown |= check_expression(where, target["expr"], metrics)
    check(shown == set(metrics), f"{DASHBOARD}: it does not show {set(metrics) - shown}")
    return sum(panel["type"] != "row" for panel in board["panels"])


def check_table(metrics):
    """The table of metrics says what the code says."""
    row = re.compile(r"^\| `(jit_[a-z_]+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", re.M)
    told = {name: (form, tuple(re.findall(r"`(\w+)`", labels)))
            for name, form, labels in row.findall(OPERATIONS.read_text())}
    for name in told.keys() | metrics.keys():
        check(told.get(name) == metrics.get(name),
              f"{OPERATIONS}: {name} is {told.get(name)} there and {metrics.get(name)} in the code")


def check_pages():
    """Links lead somewhere, and tests that are named exist."""
    sources = [file.read_text() for folder in ("crates", "bins", "tests")
               for file in pathlib.Path(folder).rglob("*.rs") if "target" not in file.parts]
    functions = {name for text in sources for name in re.findall(r"\bfn (\w+)", text)}
    for page in (OPERATIONS, SECURITY):
        text = page.read_text()
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = page if not path else (page.parent / path)
            check(target.exists(), f"{page}: {link} leads nowhere")
            if anchor and target.suffix == ".md" and target.exists():
                check(anchor in set(slugs(target.read_text())), f"{page}: {link} has no such heading")
        for name in re.findall(r"`([slk]\d+_\w+)`", text):
            check(name in functions, f"{page}: there is no test {name}")
        for path in re.findall(r"`((?:crates|bins|tests|docs)/[\w./-]+)`", text):
            check(pathlib.Path(path).exists(), f"{page}: there is no {path}")
    named = set(re.findall(r"`(s\d+)_\w+`", SECURITY.read_text()))
    check(named == {f"s{number}" for number in range(1, 17)}, f"{SECURITY}: a test for each of S1 to S16")


metrics = metrics_of_code()
alerts = check_alerts(metrics)
panels = check_dashboard(metrics)
check_table(metrics)
check_pages()
for what in wrong:
    print(f"tests/deploy: {what}", file=sys.stderr)
print(f"docs: {len(metrics)} metrics, {alerts} alerts, {panels} panels, {len(wrong)} wrong")
sys.exit(bool(wrong))
