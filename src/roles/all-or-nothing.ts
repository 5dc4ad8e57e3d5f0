/** Says how to close what was just opened, should something that is opened after it fail. */
export type OnFailure = (close: () => Promise<unknown>) => void;

/**
 * Opens several things one after the other. When one can't be opened, those that were are closed, the last one first, and the
 * error is that of the opening, whatever becomes of the closing.
 */
export async function allOrNothing<T>(open: (onFailure: OnFailure) => Promise<T>): Promise<T> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    return await open((close) => closers.push(close));
  } catch (error) {
    for (const close of closers.reverse()) await close().catch(() => {}); // The first error is what matters.
    throw error;
  }
}
