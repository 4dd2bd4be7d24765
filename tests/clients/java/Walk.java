// The walk of test_walk.py with google-api-services-healthcare: java Walk URL TOKEN BUCKET

import com.google.api.client.googleapis.json.GoogleJsonResponseException;
import com.google.api.client.http.HttpRequestInitializer;
import com.google.api.client.http.javanet.NetHttpTransport;
import com.google.api.client.json.gson.GsonFactory;
import com.google.api.services.healthcare.v1.CloudHealthcare;
import com.google.api.services.healthcare.v1.CloudHealthcare.Projects.Locations.Datasets;
import com.google.api.services.healthcare.v1.model.Binding;
import com.google.api.services.healthcare.v1.model.CancelOperationRequest;
import com.google.api.services.healthcare.v1.model.Dataset;
import com.google.api.services.healthcare.v1.model.DicomStore;
import com.google.api.services.healthcare.v1.model.ExportDicomDataRequest;
import com.google.api.services.healthcare.v1.model.GoogleCloudHealthcareV1DicomGcsDestination;
import com.google.api.services.healthcare.v1.model.GoogleCloudHealthcareV1DicomGcsSource;
import com.google.api.services.healthcare.v1.model.ImportDicomDataRequest;
import com.google.api.services.healthcare.v1.model.NotificationConfig;
import com.google.api.services.healthcare.v1.model.Operation;
import com.google.api.services.healthcare.v1.model.Policy;
import com.google.api.services.healthcare.v1.model.SetIamPolicyRequest;
import com.google.api.services.healthcare.v1.model.TestIamPermissionsRequest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

public class Walk {
  private static final GsonFactory JSON = GsonFactory.getDefaultInstance();
  private static final String LOCATION = "projects/p/locations/us-central1";
  private static final String DATASET = LOCATION + "/datasets/walk";
  private static final String STORE = DATASET + "/dicomStores/trial";

  private static Datasets datasets;

  private static Datasets clientWith(String url, HttpRequestInitializer login) {
    return new CloudHealthcare.Builder(new NetHttpTransport(), JSON, login)
        .setRootUrl(url + "/")
        .setApplicationName("walk")
        .build()
        .projects()
        .locations()
        .datasets();
  }

  private static <T> T step(String name, Callable<T> call) throws Exception {
    T answer = null;
    Object said;
    try {
      said = answer = call.call();
    } catch (GoogleJsonResponseException error) {
      Map<String, Object> content = new HashMap<>(error.getDetails());
      content.put("status", error.getDetails().get("status"));
      content.put("raised", error.getMessage());
      said = content;
    }
    System.out.println(JSON.toString(Map.of(name, said)));
    return answer;
  }

  private static Operation finished(Operation operation) throws Exception {
    while (operation.getDone() == null || !operation.getDone()) {
      Thread.sleep(200);
      operation = datasets.operations().get(operation.getName()).execute();
    }
    return operation;
  }

  private static Map<String, List<String>> pages() throws Exception {
    List<String> ids = new ArrayList<>();
    Datasets.DicomStores.List request = datasets.dicomStores().list(DATASET).setPageSize(1);
    do {
      var page = request.execute();
      for (DicomStore store : page.getDicomStores()) {
        ids.add(store.getName().substring(store.getName().lastIndexOf('/') + 1));
      }
      request.setPageToken(page.getNextPageToken());
    } while (request.getPageToken() != null);
    return Map.of("ids", ids);
  }

  public static void main(String[] arguments) throws Exception {
    String url = arguments[0];
    String token = arguments[1];
    String bucket = arguments[2];
    datasets =
        clientWith(url, request -> request.getHeaders().setAuthorization("Bearer " + token));
    Datasets.DicomStores stores = datasets.dicomStores();

    step(
        "datasets.create",
        () -> datasets.create(LOCATION, new Dataset()).setDatasetId("walk").execute());
    step("datasets.get", () -> datasets.get(DATASET).execute());
    Dataset zone = new Dataset().setTimeZone("UTC");
    step("datasets.patch", () -> datasets.patch(DATASET, zone).setUpdateMask("timeZone").execute());
    step("datasets.list", () -> datasets.list(LOCATION).execute());

    step(
        "dicomStores.create",
        () -> stores.create(DATASET, new DicomStore()).setDicomStoreId("trial").execute());
    DicomStore another = new DicomStore().setLabels(Map.of("site", "north"));
    stores.create(DATASET, another).setDicomStoreId("another").execute();
    DicomStore read = step("dicomStores.get", () -> stores.get(STORE).execute());
    read.setNotificationConfig(new NotificationConfig().setPubsubTopic("projects/p/topics/t"));
    step(
        "dicomStores.patch",
        () -> stores.patch(STORE, read).setUpdateMask("notificationConfig").execute());
    step("dicomStores.list in pages", Walk::pages);
    StringBuilder filter = new StringBuilder("labels.site=north");
    for (int n = 0; n < 300; n++) {
      filter.append(" OR labels.site=x").append(n);
    }
    step(
        "dicomStores.list with a long filter",
        () -> stores.list(DATASET).setFilter(filter.toString()).execute());

    step("dicomStores.getIamPolicy", () -> stores.getIamPolicy(STORE).execute());
    Binding binding =
        new Binding().setRole("roles/viewer").setMembers(List.of("user:someone@example.com"));
    SetIamPolicyRequest setting =
        new SetIamPolicyRequest().setPolicy(new Policy().setBindings(List.of(binding)));
    step("dicomStores.setIamPolicy", () -> stores.setIamPolicy(STORE, setting).execute());
    TestIamPermissionsRequest asked =
        new TestIamPermissionsRequest()
            .setPermissions(List.of("healthcare.dicomStores.get", "healthcare.fhirStores.get"));
    step("dicomStores.testIamPermissions", () -> stores.testIamPermissions(STORE, asked).execute());

    ImportDicomDataRequest source =
        new ImportDicomDataRequest()
            .setGcsSource(
                new GoogleCloudHealthcareV1DicomGcsSource().setUri("gs://" + bucket + "/in/*.dcm"));
    step("dicomStores.import", () -> finished(stores.healthcareImport(STORE, source).execute()));
    step(
        "dicomStores.getDICOMStoreMetrics", () -> stores.getDICOMStoreMetrics(STORE).execute());
    ExportDicomDataRequest destination =
        new ExportDicomDataRequest()
            .setGcsDestination(
                new GoogleCloudHealthcareV1DicomGcsDestination()
                    .setUriPrefix("gs://" + bucket + "/out")
                    .setMimeType("application/dicom"));
    Operation exported =
        step("dicomStores.export", () -> finished(stores.export(STORE, destination).execute()));
    step(
        "operations.list",
        () -> datasets.operations().list(DATASET).setFilter("done=true").execute());
    CancelOperationRequest nothing = new CancelOperationRequest();
    step(
        "operations.cancel",
        () -> datasets.operations().cancel(exported.getName(), nothing).execute());

    step("dicomStores.delete", () -> stores.delete(STORE).execute());
    step("dicomStores.get after that", () -> stores.get(STORE).execute());
    step("datasets.delete", () -> datasets.delete(DATASET).execute());
    step("without a token", () -> clientWith(url, null).get(DATASET).execute());
  }
}
