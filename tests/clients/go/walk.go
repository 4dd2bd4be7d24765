// The walk of test_walk.py with google.golang.org/api/healthcare/v1: walk URL TOKEN BUCKET
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	healthcare "google.golang.org/api/healthcare/v1"
	"google.golang.org/api/option"
)

const (
	location = "projects/p/locations/us-central1"
	dataset  = location + "/datasets/walk"
	store    = dataset + "/dicomStores/trial"
)

var datasets *healthcare.ProjectsLocationsDatasetsService

func clientWith(url string, login option.ClientOption) *healthcare.ProjectsLocationsDatasetsService {
	client, err := healthcare.NewService(context.Background(), option.WithEndpoint(url), login)
	if err != nil {
		log.Fatal(err)
	}
	return client.Projects.Locations.Datasets
}

// step prints and returns what the library read.
func step[T any](name string, do func() (T, error)) T {
	answer, err := do()
	var said any = answer
	var refused *googleapi.Error
	if errors.As(err, &refused) {
		// The library keeps the status in the body alone.
		var body struct{ Error map[string]any }
		if err := json.Unmarshal([]byte(refused.Body), &body); err != nil {
			log.Fatal(err)
		}
		said = map[string]any{
			"code": refused.Code, "message": refused.Message, "details": refused.Details,
			"status": body.Error["status"], "raised": refused.Error(),
		}
	} else if err != nil {
		log.Fatal(err)
	}
	line, err := json.Marshal(map[string]any{name: said})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	return answer
}

func finished(operation *healthcare.Operation, err error) (*healthcare.Operation, error) {
	for err == nil && !operation.Done {
		time.Sleep(200 * time.Millisecond)
		operation, err = datasets.Operations.Get(operation.Name).Do()
	}
	return operation, err
}

func pages() (map[string][]string, error) {
	var ids []string
	err := datasets.DicomStores.List(dataset).PageSize(1).Pages(context.Background(),
		func(page *healthcare.ListDicomStoresResponse) error {
			for _, store := range page.DicomStores {
				ids = append(ids, store.Name[strings.LastIndex(store.Name, "/")+1:])
			}
			return nil
		})
	return map[string][]string{"ids": ids}, err
}

func main() {
	url, token, bucket := os.Args[1], os.Args[2], os.Args[3]
	login := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
	datasets = clientWith(url, option.WithTokenSource(login))
	stores, operations := datasets.DicomStores, datasets.Operations

	step("datasets.create", func() (*healthcare.Operation, error) {
		return finished(datasets.Create(location, &healthcare.Dataset{}).DatasetId("walk").Do())
	})
	step("datasets.get", func() (*healthcare.Dataset, error) { return datasets.Get(dataset).Do() })
	zone := &healthcare.Dataset{TimeZone: "UTC"}
	step("datasets.patch", func() (*healthcare.Dataset, error) {
		return datasets.Patch(dataset, zone).UpdateMask("timeZone").Do()
	})
	step("datasets.list", func() (*healthcare.ListDatasetsResponse, error) {
		return datasets.List(location).Do()
	})

	step("dicomStores.create", func() (*healthcare.DicomStore, error) {
		return stores.Create(dataset, &healthcare.DicomStore{}).DicomStoreId("trial").Do()
	})
	another := &healthcare.DicomStore{Labels: map[string]string{"site": "north"}}
	if _, err := stores.Create(dataset, another).DicomStoreId("another").Do(); err != nil {
		log.Fatal(err)
	}
	read := step("dicomStores.get", func() (*healthcare.DicomStore, error) {
		return stores.Get(store).Do()
	})
	read.NotificationConfig = &healthcare.NotificationConfig{PubsubTopic: "projects/p/topics/t"}
	step("dicomStores.patch", func() (*healthcare.DicomStore, error) {
		return stores.Patch(store, read).UpdateMask("notificationConfig").Do()
	})
	step("dicomStores.list in pages", pages)
	filter := "labels.site=north"
	for n := range 300 {
		filter += fmt.Sprintf(" OR labels.site=x%d", n)
	}
	step("dicomStores.list with a long filter", func() (*healthcare.ListDicomStoresResponse, error) {
		return stores.List(dataset).Filter(filter).Do()
	})

	step("dicomStores.getIamPolicy", func() (*healthcare.Policy, error) {
		return stores.GetIamPolicy(store).Do()
	})
	binding := &healthcare.Binding{
		Role: "roles/viewer", Members: []string{"user:someone@example.com"}}
	setting := &healthcare.SetIamPolicyRequest{
		Policy: &healthcare.Policy{Bindings: []*healthcare.Binding{binding}}}
	step("dicomStores.setIamPolicy", func() (*healthcare.Policy, error) {
		return stores.SetIamPolicy(store, setting).Do()
	})
	asked := &healthcare.TestIamPermissionsRequest{
		Permissions: []string{"healthcare.dicomStores.get", "healthcare.fhirStores.get"}}
	step("dicomStores.testIamPermissions",
		func() (*healthcare.TestIamPermissionsResponse, error) {
			return stores.TestIamPermissions(store, asked).Do()
		})

	source := &healthcare.ImportDicomDataRequest{
		GcsSource: &healthcare.GoogleCloudHealthcareV1DicomGcsSource{
			Uri: "gs://" + bucket + "/in/*.dcm"}}
	step("dicomStores.import", func() (*healthcare.Operation, error) {
		return finished(stores.Import(store, source).Do())
	})
	step("dicomStores.getDICOMStoreMetrics", func() (*healthcare.DicomStoreMetrics, error) {
		return stores.GetDICOMStoreMetrics(store).Do()
	})
	destination := &healthcare.ExportDicomDataRequest{
		GcsDestination: &healthcare.GoogleCloudHealthcareV1DicomGcsDestination{
			UriPrefix: "gs://" + bucket + "/out", MimeType: "application/dicom"}}
	exported := step("dicomStores.export", func() (*healthcare.Operation, error) {
		return finished(stores.Export(store, destination).Do())
	})
	step("operations.list", func() (*healthcare.ListOperationsResponse, error) {
		return operations.List(dataset).Filter("done=true").Do()
	})
	step("operations.cancel", func() (*healthcare.Empty, error) {
		return operations.Cancel(exported.Name, &healthcare.CancelOperationRequest{}).Do()
	})

	step("dicomStores.delete", func() (*healthcare.Empty, error) {
		return stores.Delete(store).Do()
	})
	step("dicomStores.get after that", func() (*healthcare.DicomStore, error) {
		return stores.Get(store).Do()
	})
	step("datasets.delete", func() (*healthcare.Empty, error) {
		return datasets.Delete(dataset).Do()
	})
	step("without a token", func() (*healthcare.Dataset, error) {
		return clientWith(url, option.WithoutAuthentication()).Get(dataset).Do()
	})
}
