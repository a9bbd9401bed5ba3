export { type HubDriverCase, type HubDriverSuiteOptions, hubDriverSuite, oddChannelNames } from './hub-driver-suite.js';
export { type StoreCase, type StoreSuiteOptions, type SuiteTime, storeSuite } from './store-suite.js';
