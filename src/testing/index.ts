export { type HubDriverCase, type HubDriverSuiteOptions, hubDriverSuite, oddChannelNames } from './hub-driver-suite.js';
