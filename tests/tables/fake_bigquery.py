"""A small BigQuery over HTTP that follows the documented semantics of load jobs.

What an emulator lacks and the product relies on: a job id is used once (409 afterwards),
WRITE_EMPTY on a table with rows fails the job with reason "duplicate", new columns need
ALLOW_FIELD_ADDITION, the schema of a load must contain the columns of the table, rows are checked
against the schema, and a failed job changes nothing. Faults can be ordered.
"""

import contextlib
import email
import http.server
import json
import re
import threading
import urllib.parse

from dicomferry.tables.schema import Field
from tests.tables.instances import misfits

PROJECT = "my-project"


class FakeBigQuery:
    """The state of one project, and the faults that are ordered.

    Attributes:
        tables: "dataset.table" to {"fields": [...], "rows": [...], "type": "TABLE"}.
        jobs: job id to its resource.
        objects: gs:// URI to bytes.
        inserted: job ids in the order in which jobs were asked for.
        fail: reasons with which the next jobs fail, in turn.
        lose_answers: how many of the next answers to a job insertion do not arrive.
        before_load: called when a job starts to load.
        forbidden: parts of paths that these credentials may not read.
        show: called with a job before it is answered; returns what to say of it.
    """

    def __init__(self):
        self.datasets = {"data": "EU"}
        self.tables = {}
        self.jobs = {}
        self.objects = {}
        self.inserted = []
        self.fail = []
        self.lose_answers = 0
        self.before_load = None
        self.forbidden = set()
        self.show = dict
        self.uploads = {}
        self.lock = threading.RLock()

    def insert(self, resource, body=None):
        """Run a load job; (status, answer)."""
        job_id = resource["jobReference"]["jobId"]
        self.inserted.append(job_id)
        if job_id in self.jobs:
            return error(409, "duplicate", f"Already Exists: Job {job_id}")
        load = resource["configuration"]["load"]
        failure = self.fail.pop(0) if self.fail else None
        if failure is None:
            if self.before_load is not None:
                self.before_load()
            uris = load.get("sourceUris")
            data = body if uris is None else b"".join(self.objects[uri] for uri in uris)
            failure = self._load(load, data)
        status = {"state": "DONE"}
        if failure is not None:
            status["errorResult"] = {"reason": failure, "message": "value DOE^JOHN is bad"}
        self.jobs[job_id] = {**resource, "status": status, "statistics": {}}
        return 200, self.show(self.jobs[job_id])

    def _load(self, load, data):
        target = load["destinationTable"]
        key = f"{target['datasetId']}.{target['tableId']}"
        fields = load["schema"]["fields"]
        schema = as_schema(fields)
        rows = [json.loads(line) for line in data.splitlines()]
        if any(misfits(row, schema) for row in rows):
            return "invalid"
        table = self.tables.get(key)
        disposition = load["writeDisposition"]
        if table is None or disposition == "WRITE_TRUNCATE":
            self.tables[key] = {"fields": fields, "rows": rows, "type": "TABLE"}
            return None
        if disposition == "WRITE_EMPTY" and table["rows"]:
            return "duplicate"
        added = load.get("schemaUpdateOptions", [])
        if added and disposition != "WRITE_APPEND":
            return "invalid"
        if not appends(as_schema(table["fields"]), schema, "ALLOW_FIELD_ADDITION" in added):
            return "invalid"
        table["fields"] = fields
        table["rows"] = table["rows"] + rows
        return None


def appends(existing, new, may_add):
    """Whether a load's schema contains the table's, and no more unless it may."""
    by_name = {field.name: field for field in new}
    if not may_add and len(new) != len(existing):
        return False
    return all(
        (found := by_name.get(field.name)) is not None
        and (found.type, found.mode) == (field.type, field.mode)
        and appends(field.fields, found.fields, may_add)
        for field in existing
    )


def as_schema(fields):
    return tuple(
        Field(
            field["name"],
            field["type"],
            field.get("mode", "NULLABLE"),
            as_schema(field.get("fields", [])),
        )
        for field in fields
    )


def error(status, reason, message):
    errors = [{"reason": reason, "message": message}]
    return status, {"error": {"code": status, "message": message, "errors": errors}}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(*self._get(self._parts()))

    def do_PATCH(self):
        fake = self.server.fake
        body = json.loads(self._body())
        _, _, dataset, _, table = self._parts()[-5:]
        with fake.lock:
            fake.tables[f"{dataset}.{table}"]["fields"] = body["schema"]["fields"]
        self._answer(*self._get(self._parts()))

    def do_POST(self):
        fake = self.server.fake
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        body = self._body()
        if query.get("uploadType") == ["resumable"]:
            upload = str(len(fake.uploads))
            fake.uploads[upload] = [json.loads(body), b""]
            location = f"http://{self.headers['Host']}/resumable?id={upload}"
            self._answer(200, {}, {"Location": location})
            return
        if query.get("uploadType") == ["multipart"]:
            kind = self.headers["Content-Type"].encode()
            message = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
            resource, media = (part.get_payload(decode=True) for part in message.get_payload())
            self._insert(json.loads(resource), media)
            return
        self._insert(json.loads(body), None)

    def do_PUT(self):
        upload = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)["id"][0]
        kept = self.server.fake.uploads[upload]
        # "bytes FIRST-LAST/TOTAL", or "bytes */TOTAL" without any; a chunk may come again.
        given, _, total = self.headers["Content-Range"].removeprefix("bytes ").rpartition("/")
        first = 0 if given == "*" else int(given.partition("-")[0])
        kept[1] = kept[1][:first] + self._body()
        if total != "*" and len(kept[1]) == int(total):
            self._insert(*kept)
            return
        self._answer(308, None, {"Range": f"bytes=0-{len(kept[1]) - 1}"})

    def _insert(self, resource, media):
        fake = self.server.fake
        with fake.lock:
            answer = fake.insert(resource, media)
            lost = fake.lose_answers > 0
            fake.lose_answers -= lost
        if lost:
            self._answer(*error(503, "backendError", "the answer was lost"))
        else:
            self._answer(*answer)

    def _get(self, parts):  # noqa: PLR0911 - one answer a resource
        fake = self.server.fake
        missing = error(404, "notFound", "Not found")
        with fake.lock:
            match parts:
                case _ if fake.forbidden & set(parts):
                    return error(403, "accessDenied", "Access Denied")
                case [*_, "jobs", job]:
                    return (200, fake.show(fake.jobs[job])) if job in fake.jobs else missing
                case [*_, "datasets", dataset, "tables", table]:
                    found = fake.tables.get(f"{dataset}.{table}")
                    if found is None:
                        return missing
                    name = {"projectId": PROJECT, "datasetId": dataset, "tableId": table}
                    return 200, {
                        "tableReference": name,
                        "type": found["type"],
                        "numRows": str(len(found["rows"])),
                        "schema": {"fields": found["fields"]},
                        "etag": "e",
                        **found.get("more", {}),
                    }
                case [*_, "datasets", dataset]:
                    if dataset not in fake.datasets:
                        return missing
                    name = {"projectId": PROJECT, "datasetId": dataset}
                    return 200, {"datasetReference": name, "location": fake.datasets[dataset]}
        return missing

    def _parts(self):
        return re.split("/", urllib.parse.urlparse(self.path).path.strip("/"))

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status, answer, headers=None):
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(fake):
    """Give the address of a server for the fake."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.fake = fake
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
