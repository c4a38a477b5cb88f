/** The error for a setting of the CPU backend, by option or environment variable, that cannot be met. */

/** Its message names the setting, its value, and what is allowed. */
export class SettingError extends RangeError {
  override readonly name = "SettingError";
}
