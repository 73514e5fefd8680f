# A Nomad job whose task has the token of the role ci in its environment, and restarts when it changes: within the
# role's refresh_interval of a rotation.
job "app" {
  datacenters = ["dc1"]

  group "app" {
    task "app" {
      driver = "docker"

      config {
        image   = "registry.example.com/app"
        command = "python3"
        args    = ["app.py"]
      }

      vault {
        role = "app"
      }

      template {
        env         = true
        destination = "secrets/modal.env"
        change_mode = "restart"

        # The whole text, as it is: Nomad kills a task whose file it can't parse.
        data = <<EOT
{{ with secret "modal/creds/ci/dotenv" }}{{ .Data.dotenv }}{{ end }}
EOT
      }
    }
  }
}
