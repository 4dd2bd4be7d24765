// The walk of test_walk.py with @googleapis/healthcare: node walk.js URL TOKEN BUCKET
'use strict';

const google = require('@googleapis/healthcare');

const [url, token, bucket] = process.argv.slice(2);
const location = 'projects/p/locations/us-central1';
const dataset = `${location}/datasets/walk`;
const store = `${dataset}/dicomStores/trial`;

function clientWith(auth) {
  const client = google.healthcare({version: 'v1', rootUrl: `${url}/`, auth});
  return client.projects.locations.datasets;
}

const login = new google.auth.OAuth2();
login.setCredentials({access_token: token});
const datasets = clientWith(login);
const {dicomStores: stores, operations} = datasets;

async function step(name, request) {
  let said;
  try {
    said = await request;
    said = said.data ?? said;
  } catch (error) {
    if (!error.response) throw error;
    const {code, message, status, details} = error.response.data.error;
    said = {code, message, status, details, raised: error.message};
  }
  console.log(JSON.stringify({[name]: said}));
  return said;
}

async function finished(request) {
  let {data} = await request;
  while (!data.done) {
    await new Promise(resolve => setTimeout(resolve, 200));
    ({data} = await operations.get({name: data.name}));
  }
  return data;
}

async function pages() {
  const ids = [];
  let pageToken;
  do {
    const {data} = await stores.list({parent: dataset, pageSize: 1, pageToken});
    ids.push(...data.dicomStores.map(({name}) => name.split('/').pop()));
    pageToken = data.nextPageToken;
  } while (pageToken);
  return {ids};
}

async function walk() {
  await step('datasets.create', finished(datasets.create({parent: location, datasetId: 'walk'})));
  await step('datasets.get', datasets.get({name: dataset}));
  const zone = {name: dataset, updateMask: 'timeZone', requestBody: {timeZone: 'UTC'}};
  await step('datasets.patch', datasets.patch(zone));
  await step('datasets.list', datasets.list({parent: location}));

  await step('dicomStores.create', stores.create({parent: dataset, dicomStoreId: 'trial'}));
  const another = {parent: dataset, dicomStoreId: 'another', resource: {labels: {site: 'north'}}};
  await stores.create(another);
  const read = await step('dicomStores.get', stores.get({name: store}));
  read.notificationConfig = {pubsubTopic: 'projects/p/topics/t'};
  const topic = {name: store, updateMask: 'notificationConfig', requestBody: read};
  await step('dicomStores.patch', stores.patch(topic));
  await step('dicomStores.list in pages', pages());
  const never = Array.from({length: 300}, (_, n) => ` OR labels.site=x${n}`).join('');
  const filter = `labels.site=north${never}`;
  await step('dicomStores.list with a long filter', stores.list({parent: dataset, filter}));

  await step('dicomStores.getIamPolicy', stores.getIamPolicy({resource_: store}));
  // A member that is no list: as Google's sample sends it.
  const bindings = [{members: 'user:someone@example.com', role: 'roles/viewer'}];
  const setting = {resource_: store, requestBody: {policy: {bindings}}};
  await step('dicomStores.setIamPolicy', stores.setIamPolicy(setting));
  const permissions = ['healthcare.dicomStores.get', 'healthcare.fhirStores.get'];
  const asked = {resource_: store, requestBody: {permissions}};
  await step('dicomStores.testIamPermissions', stores.testIamPermissions(asked));

  const source = {gcsSource: {uri: `gs://${bucket}/in/*.dcm`}};
  const imported = finished(stores.import({name: store, requestBody: source}));
  await step('dicomStores.import', imported);
  await step('dicomStores.getDICOMStoreMetrics', stores.getDICOMStoreMetrics({name: store}));
  const gcsDestination = {uriPrefix: `gs://${bucket}/out`, mimeType: 'application/dicom'};
  const exported = finished(stores.export({name: store, requestBody: {gcsDestination}}));
  await step('dicomStores.export', exported);
  const {name} = await exported;
  await step('operations.list', operations.list({name: dataset, filter: 'done=true'}));
  await step('operations.cancel', operations.cancel({name}));

  await step('dicomStores.delete', stores.delete({name: store}));
  await step('dicomStores.get after that', stores.get({name: store}));
  await step('datasets.delete', datasets.delete({name: dataset}));
  await step('without a token', clientWith().get({name: dataset}));
}

walk();
