import { decideGrant, decideReturn, decideSettlement, type Refusal } from "@weir/metering/budgets/account";

/** A window as the store has it; amounts in nano-USD. */
export interface Window {
  readonly name: string;
  readonly limit: bigint;
  spent: bigint;
  leased: bigint;
  /** Charges that came when their lease had ended. */
  late: bigint;
}

/** A lease as the store has it. */
export interface CentralLease {
  readonly id: bigint;
  readonly window: Window;
  readonly holder: string;
  outstanding: bigint;
  grantedTotal: bigint;
  returnedTotal: bigint;
  expireMs: number;
  ended: boolean;
}

export const leaseMs = 30;
export const keepMs = 100;

/** The store's side of the rules, in memory: what the SQL does, with the same decisions and a clock of its own. */
export class Central {
  nowMs = 0;
  readonly windows: readonly Window[];
  readonly leases: CentralLease[] = [];

  constructor(limits: readonly bigint[]) {
    this.windows = limits.map((limit, index) => ({ name: `w${index}`, limit, spent: 0n, leased: 0n, late: 0n }));
  }

  /** All or nothing. @returns the leases, or why not */
  acquire(
    holder: string,
    asks: readonly { readonly window: number; readonly needed: bigint; readonly preferred: bigint }[],
  ): readonly CentralLease[] | Refusal {
    this.endLeases();
    const amounts: bigint[] = [];
    for (const { window: index, needed, preferred } of asks) {
      const window = this.windows[index] as Window;
      const holders = new Set(this.live(window).map((lease) => lease.holder)).add(holder).size;
      const amount = decideGrant(window, { needed, preferred, holders });
      if (typeof amount === "string") return amount;
      amounts.push(amount);
    }
    return asks.map(({ window: index }, place) => {
      const window = this.windows[index] as Window;
      const amount = amounts[place] as bigint;
      window.leased += amount;
      let lease = this.live(window).find((one) => one.holder === holder);
      if (lease === undefined) {
        const id = BigInt(this.leases.length + 1);
        const fresh = { outstanding: 0n, grantedTotal: 0n, returnedTotal: 0n, expireMs: 0, ended: false };
        lease = { id, window, holder, ...fresh };
        this.leases.push(lease);
      }
      lease.outstanding += amount;
      lease.grantedTotal += amount;
      lease.expireMs = this.nowMs + leaseMs;
      return lease;
    });
  }

  /** @returns whether the lease lives */
  renew(id: bigint, returnedTotal: bigint): boolean {
    this.endLeases();
    const lease = this.lease(id);
    if (lease.ended) return false;
    const amount = decideReturn(lease.outstanding, lease.returnedTotal, returnedTotal);
    lease.outstanding -= amount;
    lease.window.leased -= amount;
    if (returnedTotal > lease.returnedTotal) lease.returnedTotal = returnedTotal;
    lease.expireMs = this.nowMs + leaseMs;
    return true;
  }

  settle(ids: readonly bigint[], charge: bigint): void {
    this.endLeases();
    for (const lease of ids.map((id) => this.lease(id))) {
      const { fromLease } = decideSettlement(lease.outstanding, charge);
      lease.outstanding -= fromLease;
      lease.window.leased -= fromLease;
      lease.window.spent += charge;
      lease.window.late += charge - fromLease;
    }
  }

  lease(id: bigint): CentralLease {
    return this.leases[Number(id) - 1] as CentralLease;
  }

  private live(window: Window): CentralLease[] {
    return this.leases.filter((lease) => lease.window === window && !lease.ended);
  }

  private endLeases(): void {
    for (const lease of this.leases) {
      if (lease.ended || lease.expireMs + keepMs >= this.nowMs) continue;
      lease.window.leased -= lease.outstanding;
      lease.outstanding = 0n;
      lease.ended = true;
    }
  }
}
