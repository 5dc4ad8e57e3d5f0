/*
 * List prices of Amazon S3 Standard in us-east-1 (N. Virginia), in US dollars, without discounts and free tiers.
 * Source: https://aws.amazon.com/s3/pricing/, as listed in 2025. DELETE is free, and so is traffic within a region.
 * Prices change; put today's in here before deciding anything by the figures.
 */
export const PRICES = {
  asOf: "2025",
  region: "us-east-1",
  /** A request: PUT, COPY, POST (an upload's beginning, parts and end are one each) and LIST. */
  put: 0.005 / 1000,
  list: 0.005 / 1000,
  /** A request: GET, HEAD and all others. */
  get: 0.0004 / 1000,
  /** A gigabyte (10^9 bytes) for a month, up to 50 TB. */
  gigabyteMonth: 0.023,
} as const;

export interface Requests {
  puts: number;
  gets: number;
  lists: number;
}

export const DAYS_A_MONTH = 30;

/** Dollars a month for so many requests a day. */
export function requestDollars({ puts, gets, lists }: Requests): number {
  return (puts * PRICES.put + gets * PRICES.get + lists * PRICES.list) * DAYS_A_MONTH;
}

/** Dollars that it takes to keep what one month of days with so many bytes has brought, for a month. */
export function storageDollars(bytesADay: number): number {
  return ((bytesADay * DAYS_A_MONTH) / 1e9) * PRICES.gigabyteMonth;
}
