import type { Logger } from "../core/log.ts";
import type { KafkaIntakeOptions } from "../intake/kafka-options.ts";
import { KafkaAdmin, type PartitionOffsets } from "../kafka/admin.ts";
import { type KafkaClient, openKafkaClient } from "../kafka/client.ts";

/** The intake topic, for the parts of a process that ask about it. */
export class KafkaSide {
  readonly options: KafkaIntakeOptions;
  readonly client: KafkaClient;
  readonly admin: KafkaAdmin;

  private constructor(options: KafkaIntakeOptions, client: KafkaClient) {
    this.options = options;
    this.client = client;
    this.admin = new KafkaAdmin(client);
  }

  /** Opens no connection yet. Rejects with `kafka_options`. */
  static async open(options: KafkaIntakeOptions, log: Logger): Promise<KafkaSide> {
    return new KafkaSide(options, await openKafkaClient(options, log));
  }

  /** Of all partitions, in order. Errors as KafkaAdmin.offsets. */
  offsets(): Promise<readonly PartitionOffsets[]> {
    return this.admin.offsets(this.options.topic);
  }

  /** Of one partition. Errors as KafkaAdmin.offsets. */
  async offsetsOf(partition: number): Promise<PartitionOffsets> {
    const found = (await this.offsets()).find((one) => one.partition === partition);
    if (found === undefined) throw new Error(`the intake topic has no partition ${partition} any more`);
    return found;
  }

  /** By partition, the offset that the next entry gets. */
  async ends(): Promise<Readonly<Record<string, number>>> {
    return Object.fromEntries((await this.offsets()).map(({ partition, high }) => [partition, high]));
  }

  close(): Promise<void> {
    return this.admin.close();
  }
}
