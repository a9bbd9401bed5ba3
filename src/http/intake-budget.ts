import { MillraceError } from '../errors.js';

/** What is no more than this is small: it is let in while large ones wait. About what one read from a socket brings. */
export const SMALL_BYTES = 64 * 1024;

/** How often those that wait, and those that others wait for, are looked at. */
const TICK_MS = 1_000;

/** What somebody others wait for has to bring within `intakeStallMs`, or it is stalled. */
const PROGRESS_BYTES = SMALL_BYTES;

/** The limits of a budget; see `HttpLimits`. */
export interface IntakeLimits {
  readonly intakeBytesMax: number;
  readonly intakeBytesPerAddressMax: number;
  readonly intakeWaitersMax: number;
  readonly intakeWaitMs: number;
  readonly intakeStallMs: number;
}

/** Who takes something in. */
export interface IntakeOwner {
  /** There is no room: read no more from the client, or (`false`) read on. */
  onFull(full: boolean): void;
  /**
   * It has waited too long (`INTAKE_BUSY`), or others wait and it does not go on (`REQUEST_TIMEOUT`): let go of what is
   * here, and close the intake. Left out where all is here and goes away by itself, however slowly (it is settling):
   * nobody is refused then.
   */
  onRefused?(error: MillraceError): void;
}

/**
 * The one budget for all that is on its way in: bodies and messages that are not whole yet, and everything that is not
 * committed. It counts bytes that are in memory; who brings more than there is room for is not read on until it is its
 * turn, the eldest first.
 *
 * - Small ones go on while large ones wait: those may fill three quarters.
 * - Small ones that are whole go on while unfinished ones wait: an eighth is theirs alone. They are gone with their commit,
 *   so nobody can hold that room by sending nothing more.
 * - The eldest large one that is not whole goes on, whatever the others of its kind hold: so there is always one that
 *   comes to its end. It waits only while what is whole already, and goes away by itself, fills a quarter.
 * - Who waits too long is refused, and while somebody waits also who does not go on: a client cannot hold room by
 *   sending nothing.
 */
export class IntakeBudget {
  readonly #limits: IntakeLimits;
  readonly #largeMax: number;
  readonly #settlingMax: number;
  /** So much is kept for small ones that are whole. */
  readonly #wholeMax: number;
  /** Those that are not whole, and may be refused. */
  readonly #small = new Set<Intake>();
  /** The same, in the order in which they became large. */
  readonly #large = new Set<Intake>();
  readonly #byAddress = new Map<string, number>();
  /** Those that wait, the eldest first. */
  #line: Intake[] = [];
  #smallBytes = 0;
  /** Those of them that are whole. */
  #wholeBytes = 0;
  #largeBytes = 0;
  /** Those of the large bytes that go away by themselves. */
  #settlingBytes = 0;
  #opened = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Since when somebody waits. */
  #pressedSinceMs = 0;

  constructor(limits: IntakeLimits) {
    this.#limits = limits;
    this.#largeMax = Math.floor((limits.intakeBytesMax * 3) / 4);
    this.#settlingMax = limits.intakeBytesMax - this.#largeMax;
    this.#wholeMax = Math.floor(limits.intakeBytesMax / 8);
  }

  /** All bytes that are counted. */
  get bytes(): number {
    return this.#smallBytes + this.#largeBytes;
  }

  /**
   * Counts a small piece that came whole, with no owner: this is the way of every small append. False where there is no
   * room, or it is not small: then it takes an intake.
   */
  takeWhole(bytes: number): boolean {
    if (bytes > SMALL_BYTES || !this.#hasRoomForSmall(true)) return false;
    this.#smallBytes += bytes;
    this.#wholeBytes += bytes;
    return true;
  }

  /** Takes back {@link takeWhole}. */
  giveWhole(bytes: number): void {
    this.#smallBytes -= bytes;
    this.#wholeBytes -= bytes;
    if (this.#line.length > 0) this.#admit();
  }

  /** Begins an intake; `address` is the client's, where its share is limited. */
  open(owner: IntakeOwner, address?: string): Intake {
    return new Intake(this, owner, this.#opened++, address);
  }

  /** For {@link Intake} only. */
  take(intake: Intake, bytes: number): void {
    if (intake.bytes === 0 && !intake.settles) (intake.isLarge ? this.#large : this.#small).add(intake);
    intake.bytes += bytes;
    intake.received += bytes;
    if (intake.isLarge) this.#countLarge(intake, bytes);
    else this.#countSmall(intake, bytes);
    if (!intake.isLarge && intake.bytes > SMALL_BYTES) this.becomeLarge(intake);
    this.#takeGrant(intake);
    if (!intake.isWaiting && !this.#mayGoOn(intake)) this.#wait(intake);
  }

  /** For {@link Intake} only. */
  give(intake: Intake, bytes: number): void {
    intake.bytes -= bytes;
    if (intake.isLarge) this.#countLarge(intake, -bytes);
    else this.#countSmall(intake, -bytes);
    if (intake.bytes === 0) {
      this.#small.delete(intake);
      this.#large.delete(intake);
      intake.isLarge = false;
    }
    if (this.#line.length > 0) this.#admit();
  }

  /** For {@link Intake} only. */
  close(intake: Intake): void {
    this.#takeGrant(intake);
    if (intake.isWaiting) {
      intake.isWaiting = false;
      this.#line.splice(this.#line.indexOf(intake), 1);
      if (this.#line.length === 0) this.#disarm();
    }
    if (intake.bytes > 0) this.give(intake, intake.bytes);
    else if (this.#line.length > 0) this.#admit();
  }

  /** For {@link Intake} only. */
  becomeLarge(intake: Intake): void {
    intake.isLarge = true;
    if (intake.bytes === 0) return;
    this.#small.delete(intake);
    this.#countSmall(intake, -intake.bytes);
    if (!intake.settles) this.#large.add(intake);
    this.#countLarge(intake, intake.bytes);
  }

  #countLarge({ address, settles }: Intake, bytes: number): void {
    this.#largeBytes += bytes;
    if (settles) this.#settlingBytes += bytes;
    if (address === undefined) return;
    const held = (this.#byAddress.get(address) ?? 0) + bytes;
    if (held === 0) this.#byAddress.delete(address);
    else this.#byAddress.set(address, held);
  }

  #hasRoomForSmall(isWhole: boolean): boolean {
    // Unfinished ones may be over the limit: what one read brings of each is here before it can be told to wait.
    if (isWhole && this.#wholeBytes < this.#wholeMax) return true;
    const bytesMax = this.#limits.intakeBytesMax - this.#wholeMax;
    return this.bytes < bytesMax || this.#smallBytes < bytesMax - this.#largeMax;
  }

  #countSmall({ settles }: Intake, bytes: number): void {
    this.#smallBytes += bytes;
    if (settles) this.#wholeBytes += bytes;
  }

  #mayGoOn(intake: Intake): boolean {
    if (!intake.isLarge) return this.#hasRoomForSmall(intake.settles);
    const { intakeBytesMax, intakeBytesPerAddressMax } = this.#limits;
    const { address } = intake;
    const ofAddress = address === undefined ? 0 : (this.#byAddress.get(address) ?? 0);
    const hasRoom = this.#largeBytes < this.#largeMax && this.bytes < intakeBytesMax;
    if (hasRoom && ofAddress < intakeBytesPerAddressMax) return true;
    return this.#settlingBytes < this.#settlingMax && this.#large.values().next().value === intake;
  }

  #wait(intake: Intake): void {
    if (intake.owner.onRefused !== undefined && this.#line.length >= this.#limits.intakeWaitersMax) {
      intake.owner.onRefused(this.#busy());
      return;
    }
    intake.isWaiting = true;
    intake.waitingSinceMs = performance.now();
    let at = this.#line.length;
    while (at > 0 && (this.#line[at - 1] as Intake).order > intake.order) at--;
    this.#line.splice(at, 0, intake);
    if (this.#timer === undefined) {
      this.#timer = setInterval(this.#tick, TICK_MS).unref();
      this.#pressedSinceMs = intake.waitingSinceMs;
    }
    intake.owner.onFull(true);
  }

  /** Lets go on who may. Each is expected to bring one read's worth, and that much is kept for it. */
  #admit(): void {
    const admitted: Intake[] = [];
    this.#line = this.#line.filter((intake) => {
      if (!this.#mayGoOn(intake)) return true;
      intake.isWaiting = false;
      intake.granted = SMALL_BYTES;
      if (intake.isLarge) this.#largeBytes += intake.granted;
      else this.#smallBytes += intake.granted;
      intake.grantIsLarge = intake.isLarge;
      admitted.push(intake);
      return false;
    });
    if (this.#line.length === 0) this.#disarm();
    for (const intake of admitted) intake.owner.onFull(false);
  }

  #takeGrant(intake: Intake): void {
    if (intake.granted === 0) return;
    if (intake.grantIsLarge) this.#largeBytes -= intake.granted;
    else this.#smallBytes -= intake.granted;
    intake.granted = 0;
  }

  readonly #tick = (): void => {
    const now = performance.now();
    const { intakeWaitMs, intakeStallMs } = this.#limits;
    const refusals: (() => void)[] = [];
    let smallWait = false;
    let largeWait = false;
    for (const intake of this.#line) {
      if (intake.isLarge) largeWait = true;
      else smallWait = true;
      const { owner } = intake;
      if (owner.onRefused === undefined || now - intake.waitingSinceMs < intakeWaitMs) continue;
      refusals.push(() => owner.onRefused?.(this.#busy()));
    }
    const lookAt = (intake: Intake) => {
      const { owner } = intake;
      if (intake.isWaiting) return;
      if (intake.progressAtMs < this.#pressedSinceMs || intake.received - intake.progress >= PROGRESS_BYTES) {
        intake.progress = intake.received;
        intake.progressAtMs = now;
      } else if (now - intake.progressAtMs >= intakeStallMs) {
        refusals.push(() => owner.onRefused?.(stalled()));
      }
    };
    if (largeWait) for (const intake of this.#large) lookAt(intake);
    if (smallWait) for (const intake of this.#small) lookAt(intake);
    for (const refuse of refusals) refuse();
  };

  #disarm(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #busy(): MillraceError {
    const { intakeBytesMax } = this.#limits;
    return new MillraceError(
      'INTAKE_BUSY',
      'The server takes in as much as it may at one time: try again in a moment.',
      { intakeBytesMax },
    );
  }
}

/** Bytes of one owner that are on their way in. */
export class Intake {
  readonly owner: IntakeOwner;
  readonly order: number;
  readonly address: string | undefined;
  /** Whether its bytes go away by themselves. */
  readonly settles: boolean;
  /** What it has in memory. */
  bytes = 0;
  isLarge = false;
  isWaiting = false;
  waitingSinceMs = 0;
  /** What is kept for it since it was let go on. */
  granted = 0;
  grantIsLarge = false;
  /** All that it has ever brought. */
  received = 0;
  /** How much that was when it was last seen to go on, and when. */
  progress = 0;
  progressAtMs = 0;
  readonly #budget: IntakeBudget;

  constructor(budget: IntakeBudget, owner: IntakeOwner, order: number, address: string | undefined) {
    this.#budget = budget;
    this.owner = owner;
    this.settles = owner.onRefused === undefined;
    this.order = order;
    this.address = address;
  }

  /** It is going to bring so many bytes. Who says so keeps the place of a small one free. */
  expect(bytes: number): void {
    if (bytes > SMALL_BYTES && !this.isLarge) this.#budget.becomeLarge(this);
  }

  /** So many bytes more are here. */
  take(bytes: number): void {
    if (bytes > 0) this.#budget.take(this, bytes);
  }

  /** So many of them are gone. */
  give(bytes: number): void {
    if (bytes > 0) this.#budget.give(this, bytes);
  }

  /** All of them are gone, and it does not wait any more. It may be used again. */
  close(): void {
    this.#budget.close(this);
  }
}

function stalled(): MillraceError {
  return new MillraceError(
    'REQUEST_TIMEOUT',
    'What was sent stopped in the middle, while others waited for its room: send it again.',
  );
}
