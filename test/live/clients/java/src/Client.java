import java.util.Map;
import org.komamitsu.fluency.EventTime;
import org.komamitsu.fluency.Fluency;
import org.komamitsu.fluency.fluentd.FluencyBuilderForFluentd;

/** Sends events with Fluency and waits for their acknowledgements: Client PORT CLIENT COUNT. */
public class Client {
  public static void main(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    String tag = "live." + args[1];
    int count = Integer.parseInt(args[2]);
    FluencyBuilderForFluentd builder = new FluencyBuilderForFluentd();
    builder.setAckResponseMode(true);
    builder.setSenderMaxRetryCount(3);
    builder.setWaitUntilBufferFlushed(20);
    try (Fluency fluency = builder.build("127.0.0.1", port)) {
      for (int n = 0; n < count; n++) {
        Map<String, Object> record = Map.of("message", "line " + n, "n", n);
        if (n % 2 == 0) {
          fluency.emit(tag, EventTime.fromEpoch((int) (System.currentTimeMillis() / 1000), 123456789), record);
        } else {
          fluency.emit(tag, record);
        }
        if (n % 10 == 9) {
          fluency.flush();
        }
      }
      fluency.flush();
      if (!fluency.waitUntilAllBufferFlushed(20)) {
        throw new IllegalStateException("not everything was acknowledged");
      }
    }
  }
}
