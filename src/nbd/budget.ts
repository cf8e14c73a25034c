/** A bounded amount that is taken and given back; who asks for more than there is waits, first come, first served. */
export class Budget {
  readonly total: number;
  #left: number;
  readonly #waiting: { readonly amount: number; readonly go: () => void }[] = [];

  constructor(total: number) {
    this.total = total;
    this.#left = total;
  }

  /** `amount` is at most the total, or would wait for ever. */
  async take(amount: number): Promise<void> {
    if (this.#waiting.length === 0 && amount <= this.#left) {
      this.#left -= amount;
      return;
    }
    await new Promise<void>((resolve) => {
      this.#waiting.push({ amount, go: resolve });
    });
  }

  giveBack(amount: number): void {
    this.#left += amount;
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.amount > this.#left) return;
      this.#waiting.shift();
      this.#left -= next.amount;
      next.go();
    }
  }
}
