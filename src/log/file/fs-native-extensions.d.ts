/** The one call of `fs-native-extensions` that is used; the package has no types of its own. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive lock of the kernel on a file; false where somebody else has it. */
  export function tryLock(fd: number): boolean;
}
