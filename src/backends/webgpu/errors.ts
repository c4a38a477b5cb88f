/** The errors that only a device can have. Their names say what a program can do about them. */

/** No device could be opened: no package, no adapter, or none of the name asked for. The CPU backend still works. */
export class WebGpuUnavailableError extends Error {
  override readonly name = "WebGpuUnavailableError";

  constructor(reason: string, remedy: string, options?: ErrorOptions) {
    super(`webgpu: ${reason}; ${remedy}, or compute on the CPU backend, which needs nothing`, options);
  }
}

/** The device is gone, and with it every tensor on it: unplugged, crashed, or destroyed by the program. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";
  /** `destroyed` when the program did it, `unknown` for everything else. */
  readonly reason: string;
  /** What the driver said, which may be nothing. */
  readonly detail: string;

  constructor(adapter: string, reason: string, detail: string) {
    const why = detail ? `${reason}: ${detail}` : reason;
    super(
      `webgpu: the device on ${adapter} was lost (${why}), and its tensors with it; ` +
        "load the last checkpoint on a new device or on the CPU backend, which is still usable",
    );
    this.reason = reason;
    this.detail = detail;
  }
}

/** Work that the device refused. It happened at an earlier call: WebGPU tells of it only afterwards. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  /** `validation`: a bug of the framework or a limit overstepped; `out-of-memory`; `internal`: the driver failed. */
  readonly kind: DeviceErrorKind;
  /** The label of the kernel, buffer or encoder that the device complained of, where it has one. */
  readonly label: string | null;

  /** @param others how many more errors followed the first, mostly because of it */
  constructor(kind: DeviceErrorKind, message: string, others: number) {
    const label = labelIn(message);
    const subject = label === null ? "" : ` in ${label}`;
    const more = others === 0 ? "" : ` (and ${others} more after it)`;
    super(`webgpu: ${kind} error${subject}: ${message.trim()}${more}; ${remedies[kind]}`);
    this.kind = kind;
    this.label = label;
  }
}

export type DeviceErrorKind = "validation" | "out-of-memory" | "internal";

const remedies: Readonly<Record<DeviceErrorKind, string>> = {
  validation: "results since the last read are not to be trusted; please report it with this text",
  "out-of-memory": "use a smaller batch, or checkpoint() parts of the model",
  internal: "results since the last read are not to be trusted; try a newer driver, or another adapter",
};

/** The innermost label in Dawn's text: `[Invalid ShaderModule "conv2d"]`, or `[BufferDescriptor ""pool""]`. */
function labelIn(message: string): string | null {
  return /\[[\w ]+ "+([^"\]]+)"+\]/.exec(message)?.[1] ?? null;
}
