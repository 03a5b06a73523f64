/** Waits until something is so; fails when it does not come to be within a time that is far longer than it should take. */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`it never came to be: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
