export { type HubDriverCase, type HubDriverSuiteOptions, hubDriverSuite, oddChannelNames } from './hub-driver-suite.js';
export { type StoreCase, type StoreSuiteOptions, storeSuite } from './store-suite.js';
