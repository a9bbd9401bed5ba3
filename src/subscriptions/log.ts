/** The part of a pino logger that is used here. */
export interface Log {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
