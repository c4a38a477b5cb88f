/** What `bench/replay.ts` opens in a browser, and calls there. */
import { recordDenseNet121 } from "../recordedStep.ts";

Object.assign(globalThis, {
  async timeReplays(replays: number) {
    const { adapter, time } = await recordDenseNet121();
    return { adapter, times: await time(replays) };
  },
});
