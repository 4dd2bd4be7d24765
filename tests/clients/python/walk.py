"""The walk of test_walk.py with google-api-python-client: python walk.py URL TOKEN BUCKET"""

import json
import sys
import time

import httplib2
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

URL, TOKEN, BUCKET = sys.argv[1:]
LOCATION = "projects/p/locations/us-central1"
DATASET = f"{LOCATION}/datasets/walk"
STORE = f"{DATASET}/dicomStores/trial"


def client_with(**login):
    """The client's resource that has everything below it."""
    client = build(
        "healthcare",
        "v1",
        static_discovery=True,
        client_options={"api_endpoint": URL},
        **login,
    )
    return client.projects().locations().datasets()


def step(name, request, follow=lambda answer: answer):
    """Send a request; print and return what the library read."""
    try:
        answer = follow(request.execute())
    except HttpError as error:
        answer = json.loads(error.content)["error"]
        answer |= {"code": error.status_code, "message": error.reason, "raised": str(error)}
        answer["details"] = error.error_details
    print(json.dumps({name: answer}))
    return answer


def finished(operation):
    """The operation when it has ended."""
    while not operation.get("done"):
        time.sleep(0.2)
        operation = operations.get(name=operation["name"]).execute()
    return operation


def pages(page):
    """The ids of the stores on a page and those that follow it."""
    request, ids = first, []
    while request is not None:
        ids += [store["name"].rpartition("/")[2] for store in page["dicomStores"]]
        request = stores.list_next(request, page)
        page = request and request.execute()
    return {"ids": ids}


datasets = client_with(credentials=Credentials(TOKEN))
stores, operations = datasets.dicomStores(), datasets.operations()

step("datasets.create", datasets.create(parent=LOCATION, body={}, datasetId="walk"), finished)
step("datasets.get", datasets.get(name=DATASET))
step(
    "datasets.patch", datasets.patch(name=DATASET, updateMask="timeZone", body={"timeZone": "UTC"})
)
step("datasets.list", datasets.list(parent=LOCATION))

step("dicomStores.create", stores.create(parent=DATASET, body={}, dicomStoreId="trial"))
another = {"labels": {"site": "north"}}
stores.create(parent=DATASET, body=another, dicomStoreId="another").execute()
read = step("dicomStores.get", stores.get(name=STORE))
read["notificationConfig"] = {"pubsubTopic": "projects/p/topics/t"}
step("dicomStores.patch", stores.patch(name=STORE, updateMask="notificationConfig", body=read))
first = stores.list(parent=DATASET, pageSize=1)
step("dicomStores.list in pages", first, pages)
never = "".join(f" OR labels.site=x{n}" for n in range(300))
long_filter = f"labels.site=north{never}"
step("dicomStores.list with a long filter", stores.list(parent=DATASET, filter=long_filter))

step("dicomStores.getIamPolicy", stores.getIamPolicy(resource=STORE))
binding = {"role": "roles/viewer", "members": ["user:someone@example.com"]}
setting = {"policy": {"bindings": [binding]}}
step("dicomStores.setIamPolicy", stores.setIamPolicy(resource=STORE, body=setting))
asked = {"permissions": ["healthcare.dicomStores.get", "healthcare.fhirStores.get"]}
step("dicomStores.testIamPermissions", stores.testIamPermissions(resource=STORE, body=asked))

source = {"gcsSource": {"uri": f"gs://{BUCKET}/in/*.dcm"}}
step("dicomStores.import", stores.import_(name=STORE, body=source), finished)
step("dicomStores.getDICOMStoreMetrics", stores.getDICOMStoreMetrics(name=STORE))
destination = {"uriPrefix": f"gs://{BUCKET}/out", "mimeType": "application/dicom"}
export = stores.export(name=STORE, body={"gcsDestination": destination})
exported = step("dicomStores.export", export, finished)
step("operations.list", operations.list(name=DATASET, filter="done=true"))
step("operations.cancel", operations.cancel(name=exported["name"], body={}))

step("dicomStores.delete", stores.delete(name=STORE))
step("dicomStores.get after that", stores.get(name=STORE))
step("datasets.delete", datasets.delete(name=DATASET))
step("without a token", client_with(http=httplib2.Http()).get(name=DATASET))
